//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-US5JB6U4.js";import"./chunk-BSZOJ2NW.js";export{a as Activity,b as Invitations,c as NewProject};
