//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-5GUNLLGW.js";import"./chunk-TJPVPAX2.js";export{a as Activity,b as Invitations,c as NewProject};
