//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-SHVVAHBW.js";import"./chunk-MOBLM6V3.js";export{a as Activity,b as Invitations,c as NewProject};
