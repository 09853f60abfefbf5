//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-AFVOX3EE.js";import"./chunk-B4VGNGG4.js";export{a as Activity,b as Invitations,c as NewProject};
